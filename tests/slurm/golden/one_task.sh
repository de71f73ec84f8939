#!/bin/bash

# Parameters
#SBATCH --account=lab
#SBATCH --constraint='a100|h100'
#SBATCH --cpus-per-task=8
#SBATCH --exclusive
#SBATCH --gpus-per-node=1
#SBATCH --job-name=x.1
#SBATCH --mem=25088MB
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --open-mode=append
#SBATCH --output=/runs/x/logs/x.1/%j_0_log.out
#SBATCH --partition=gpu
#SBATCH --qos=long
#SBATCH --requeue
#SBATCH --signal=B:USR2@120
#SBATCH --time=240

# setup
module load cuda/12
export HF_HOME='/scratch/a b'

# command
export SUBMITIT_EXECUTOR=slurm
exec '/opt/my python/bin/python' -u -m submitit.core._submit /runs/x/logs/x.1
